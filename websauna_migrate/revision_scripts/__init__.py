"""What revision scripts say of themselves, mostly without importing them."""
