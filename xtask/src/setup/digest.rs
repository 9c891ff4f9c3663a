//! Known digests of what is downloaded: the sources are pinned by content, not
//! by name alone.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use crate::failure::Failure;

/// The sha256 of a file in hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn sha256(path: &Path) -> Result<String, Failure> {
    let mut file = File::open(path).map_err(Failure::io(path.display()))?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let read = file.read(&mut buffer).map_err(Failure::io(path.display()))?;
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
    }
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Compares a file with its known digest.
///
/// # Errors
/// The file is missing or is another one.
pub fn require(path: &Path, expected: &str) -> Result<(), Failure> {
    let found = sha256(path)?;
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(format!("{}: sha256 is {found}, expected {expected}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf abc | sha256sum`, also the first example of FIPS 180-2.
    const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn a_file_is_known_by_its_digest() {
        let path = std::env::temp_dir().join(format!("xtask-digest-{}", std::process::id()));
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(sha256(&path).unwrap(), ABC);
        assert!(require(&path, ABC).is_ok());
        std::fs::write(&path, "abd").unwrap();
        assert!(require(&path, ABC).unwrap_err().to_string().contains(ABC));
        std::fs::remove_file(&path).unwrap();
        assert!(require(&path, ABC).is_err());
    }
}
