"""The signals: each module is one way in which poison shows, behind the interface of `assay.screen.context.Signal`."""
