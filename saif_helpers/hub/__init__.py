"""Loading of models and SAEs: shipped organism, Hugging Face Hub, folders, GGUF files.

Only safetensors files are read, and code in model repositories is never run. The entry point is
`loading.load`.
"""
