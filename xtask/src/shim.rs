//! Stands in for parts of `lab` until they have landed.

pub mod lab_guardian {
    use std::io;
    pub struct Guardian;
    pub fn serve_if_asked() {}
    impl Guardian {
        pub fn start() -> io::Result<Self> {
            Ok(Self)
        }
        pub fn watch(&self, _leader: u32) -> io::Result<()> {
            Ok(())
        }
        pub fn release(&self, _leader: u32) -> io::Result<()> {
            Ok(())
        }
    }
}

pub mod lab_interrupt {
    use std::{io, sync::{Arc, atomic::{AtomicBool, Ordering}}};
    pub const EXIT_CODE: u8 = 130;
    #[derive(Clone)]
    pub struct Interrupt(Arc<AtomicBool>);
    impl Interrupt {
        pub fn install() -> io::Result<Self> {
            let raised = Arc::new(AtomicBool::new(false));
            for signal in [1, 2, 15] {
                signal_hook::flag::register(signal, Arc::clone(&raised))?;
            }
            Ok(Self(raised))
        }
        pub fn raised(&self) -> bool {
            self.0.load(Ordering::Relaxed)
        }
    }
}
