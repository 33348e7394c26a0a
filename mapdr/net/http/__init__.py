"""What stages that speak HTTP share: configuration fields, credentials, a client, words for answers."""
