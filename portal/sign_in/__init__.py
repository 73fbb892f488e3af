"""How people sign in: passwords, second factors, OpenID providers."""
