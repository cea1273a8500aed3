"""What `import evolve` offers, and the commands are built on."""
