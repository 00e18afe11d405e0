"""The pages, the REST interface and the CDS Hooks of a ward: thin; they call `ward`, the graders, the rules and the simulator."""
