//! Against real servers of whatever version is installed.

mod comparing;
mod fencing;
mod looking;
mod moving;
mod returning;
mod rig;
mod setting;
