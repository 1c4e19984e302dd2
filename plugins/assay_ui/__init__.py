"""The review pages: login, rights and routes at `/assay`. Only the api-server imports it."""
