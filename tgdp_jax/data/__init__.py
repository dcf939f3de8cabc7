"""Transfer problems: where source and target rows come from."""
