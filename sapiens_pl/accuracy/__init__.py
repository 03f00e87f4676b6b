"""How well poses fit annotations: AP and AR as COCO and COCO-WholeBody define them."""
