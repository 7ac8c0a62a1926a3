"""What is looked at before an effect is believed: balance, attrition, and the log of assignments."""
