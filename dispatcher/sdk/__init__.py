"""The SDK, for applications that write durable functions: `import dispatcher.sdk as dispatch`.

Importing it needs the standard library, protobuf and cryptography, and nothing of the server.
"""
