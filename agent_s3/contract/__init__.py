"""What every action must do in real applications, as named checks with two witnesses each; see `certify`."""
