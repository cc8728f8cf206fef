"""Tools for agents, by the Model Context Protocol (MCP) at /mcp: what a person does on the pages.

`tools` are the functions with their types and texts, `server` joins them to the protocol, and
`protocol` alone knows the package `mcp`, which is optional.
"""
