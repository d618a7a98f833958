use std::path::PathBuf;

/// Where downloads, computed features and engines are kept if nothing else is said: `$REFIT_CACHE`, or
/// `~/.cache/refit`, or `.cache/refit` here where there is no home.
pub fn default_cache() -> PathBuf {
    if let Some(cache) = std::env::var_os("REFIT_CACHE").filter(|cache| !cache.is_empty()) {
        return cache.into();
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
    home.unwrap_or_default().join(".cache").join("refit")
}
