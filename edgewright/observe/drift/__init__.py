"""Whether what a board sees and answers is still like the images that its model was judged on."""
