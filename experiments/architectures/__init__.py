"""FourierFT in one architecture after another: trained, converted and served in each."""
