"""The parts of bench/compare: who is installed, started, loaded, measured, and how it is written down."""
