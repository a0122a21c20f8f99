"""vinfra: declarative infrastructure over SSH and the hypervisors' own APIs; no agent, no state file."""

__version__ = "0.1.0"
