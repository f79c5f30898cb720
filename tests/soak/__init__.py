"""The appliance watched for long: hours at full speed, and a month of days with their nights."""
