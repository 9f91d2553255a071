"""The extractor's process and what keeps it alive."""

from service.extraction.supervisor import Embedded, ExtractorSupervisor

__all__ = ["Embedded", "ExtractorSupervisor"]
