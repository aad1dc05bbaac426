"""Models and SAEs from elsewhere: the shipped organism, the Hugging Face Hub, folders, GGUF files.

Only safetensors are read and no code that a model brings is run. `loading.load` is the way in.
"""
