"""A set on the Hugging Face Hub: its card and preview, what is uploaded, and how it becomes visible at once."""
