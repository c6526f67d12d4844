"""Encoding models that learn a representation: trained with torch, on the responses of one subject or of many."""
