"""What an attacker can do with recordings: the attacks of the privacy audit, and the statistics that judge them."""
