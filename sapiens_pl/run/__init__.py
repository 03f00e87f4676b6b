"""One run from start to end: ranks, stopping, coming back, progress and what it says of itself."""
