"""Work on model files without a daemon: what is published, fetching, cutting, compiling, inspecting."""
