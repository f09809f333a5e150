"""Install the wheels of one pip command by links."""
