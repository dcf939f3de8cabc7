"""Generated pictures of one shape with captions, and what a picture shows read back by closed-form rules."""
