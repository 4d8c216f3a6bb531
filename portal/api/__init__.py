"""The surface for machines: usage comes in by API key, webhooks by signature, health checks by anybody."""
