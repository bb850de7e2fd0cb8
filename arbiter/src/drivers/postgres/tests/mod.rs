//! Against real servers of whatever version is installed.

mod fencing;
mod looking;
mod moving;
mod rehearsing;
mod rejoining;
mod returning;
mod rig;
mod setting;
mod verifying;
mod waiting;
