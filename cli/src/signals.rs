//! When a process ends.

/// Done when this process is asked to stop or, with a parent, when that one is gone, however it ended.
pub fn stop_signal(with_parent: bool) -> impl Future<Output = ()> + Send + 'static {
    let asked = refit_inference::stop_signal();
    let gone = async move {
        if !with_parent {
            return std::future::pending().await;
        }
        let (tell, told) = tokio::sync::oneshot::channel();
        // A read that waits cannot be cancelled, and a thread of its own keeps nobody from ending.
        std::thread::spawn(move || {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            let _ = tell.send(());
        });
        let _ = told.await;
    };
    async move {
        tokio::select! { () = asked => {}, () = gone => {} }
    }
}
