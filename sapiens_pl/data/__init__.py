"""From pictures and boxes to batches of crops: the plan, the loader and its worker processes."""
