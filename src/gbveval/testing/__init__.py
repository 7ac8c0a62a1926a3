"""The conformance kit, for our estimators and for yours."""
