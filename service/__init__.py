"""The daemon: HTTP API, store, jobs, camera and page around coral_learn."""
