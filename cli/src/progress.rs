//! Events of a run as lines and bars.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use refit_trainer::Event;

/// Shows a run on standard error: a line a stage, a bar while it works.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// A bar where standard error is a terminal, lines otherwise.
    pub fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("  {bar:30} {pos}/{len} {msg} {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar }
    }

    /// Shows one event.
    pub fn show(&mut self, event: Event) {
        match event {
            Event::Stage { name, message } => {
                self.bar.reset();
                self.bar.set_message("");
                self.line(&format!("{name:<10} {message}"));
            }
            Event::Progress { done, total } => {
                if total > 0 {
                    self.bar.set_length(total);
                }
                self.bar.set_position(done);
            }
            Event::Step(step) => {
                self.bar.set_length(step.total as u64);
                self.bar.set_position(step.step as u64 + 1);
                self.bar.set_message(format!("loss {:.4}", step.loss));
            }
            Event::Epoch(epoch) => {
                let best = if epoch.best { ", the best so far" } else { "" };
                self.line(&format!(
                    "epoch {:<4} training loss {:.4}, validation loss {:.4}, metric {:.4}{best} ({:.0} s)",
                    epoch.epoch, epoch.train_loss, epoch.validation_loss, epoch.metric, epoch.seconds
                ));
            }
            Event::Checkpoint { .. } => {}
            Event::Notice(text) => self.line(&format!("           {text}")),
        }
    }

    fn line(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
