"""The choices of the group `dropout`: layers with masks from a random stream. Read `layers`."""
