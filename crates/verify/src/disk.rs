//! A small file system of its own for the data directory, so that it can be filled without harming anybody.
//!
//! An ext4 image on a loop device, because a broker that writes directly to disk behaves there as on a real disk.
//! Needs the right to mount.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::io::Errno;

/// A mounted image. Dropping it unmounts it, and removes it unless it is kept.
#[derive(Debug)]
pub struct SmallDisk {
    image: PathBuf,
    mount_point: PathBuf,
    keep: bool,
}

impl SmallDisk {
    pub fn mount(directory: &Path, bytes: u64) -> anyhow::Result<SmallDisk> {
        let image = directory.join("disk.img");
        let mount_point = directory.join("disk");
        fs::create_dir_all(&mount_point)?;
        File::create(&image)?.set_len(bytes)?;
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount_point))?;
        Ok(SmallDisk { image, mount_point, keep: false })
    }

    pub fn path(&self) -> &Path {
        &self.mount_point
    }

    /// Takes all free space but `leave` octets: allocates them without writing, so that only the broker's own disk is
    /// full and nobody's is busy.
    pub fn fill(&self, leave: u64) -> anyhow::Result<()> {
        const ATTEMPTS: usize = 20;
        let ballast = File::create(self.ballast())?;
        let mut taken = 0;
        for _ in 0..ATTEMPTS {
            let stat = statvfs(&self.mount_point)?;
            let free = stat.f_bavail * stat.f_frsize;
            if free <= leave {
                break;
            }
            // The broker takes space meanwhile, so the last bit may need several attempts.
            let take = if taken == 0 { free - leave } else { ((free - leave) / 2).max(stat.f_frsize) };
            match fallocate(&ballast, FallocateFlags::empty(), taken, take) {
                Ok(()) => taken += take,
                Err(Errno::NOSPC) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// Gives the space back.
    pub fn release(&self) -> anyhow::Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    /// Leaves the image behind, for whoever wants to look into it.
    pub fn keep(&mut self) {
        self.keep = true;
    }

    fn ballast(&self) -> PathBuf {
        self.mount_point.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the broker's last file handles may live a moment longer.
        let _ = run(Command::new("umount").arg("-l").arg(&self.mount_point));
        if !self.keep {
            let _ = fs::remove_file(&self.image);
        }
    }
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("running {name}"))?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
