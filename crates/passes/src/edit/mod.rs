//! Edits: passes that change what a model computes, each with its declared tolerance.
