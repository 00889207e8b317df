"""How far drawn pictures are from recorded ones, and an avatar from what heads are like."""
