"""What FourierFT costs beside LoRA: steps, memory, files, conversion, serving."""
