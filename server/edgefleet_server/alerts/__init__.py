"""What needs a person: rules over what is known of the fleet, and who is told."""
