"""What a coordinator collects to write a manifest: enrolments and the agreed first model."""
