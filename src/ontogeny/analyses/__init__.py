"""What follows from a trajectory: one analysis per file, arrays in, numbers and sentences out. No torch."""
