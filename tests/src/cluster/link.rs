//! A link to a server that can be cut: nothing comes through any more, and its clients do not notice.

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A port that leads to a server. Dropped, it is closed.
pub struct Link {
    port: u16,
    to: watch::Sender<u16>,
    cut: watch::Sender<bool>,
    passing: tokio::task::JoinHandle<()>,
}

impl Link {
    /// To that port of this machine.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("an address").port();
        let (cut, seen) = watch::channel(false);
        let (to, target) = watch::channel(port);
        let passing = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let port = *target.borrow();
                tokio::spawn(pass(client, port, seen.clone()));
            }
        });
        Self { port: own, to, cut, passing }
    }

    /// Where it begins, on this machine.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Leads to another port what is opened from now on, as a name that was moved does. What is open stays where it is.
    pub fn lead_to(&self, port: u16) {
        self.to.send_replace(port);
    }

    /// Lets nothing through from now on.
    pub fn cut(&self) {
        self.cut.send_replace(true);
    }

    /// Lets through what is opened from now on.
    pub fn mend(&self) {
        self.cut.send_replace(false);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

/// What was open when the link was cut, or was opened since, ends when it is mended.
async fn pass(mut client: TcpStream, port: u16, mut cut: watch::Receiver<bool>) {
    let mut is_cut = cut.clone();
    tokio::select! {
        biased;
        Ok(_) = is_cut.wait_for(|cut| *cut) => {}
        () = async {
            if let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await {
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        } => return,
    }
    let _ = cut.wait_for(|cut| !*cut).await;
}
