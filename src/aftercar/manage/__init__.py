"""Options of management: rules as data beside their sources, one engine. Options with reasons, never orders."""
