"""What ``SESSION_ENGINE`` names: one module per engine, called as Django calls its own."""
