"""A server that plays S3, Azure Blob and their credential services for tests, and fails on demand: see README.md."""
