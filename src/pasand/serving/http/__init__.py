"""The HTTP side of the service: server, application, routes, security and the OpenAPI document."""
