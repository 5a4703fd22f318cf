// The quiz of a chapter: checks a choice, says what became of it, keeps a tally below the last question.
// The browser remembers the letters tried, in order, under a key of each question's wording; nothing is sent anywhere.
(() => {
  "use strict";

  // A browser may forbid the storage, or it may be full: then the answers last as long as the page.
  const storage = (action, ...values) => {
    try {
      return localStorage[`${action}Item`](...values);
    } catch {
      return null;
    }
  };

  const make = (name, className, ...children) => {
    const node = document.createElement(name);
    node.className = className;
    node.append(...children);
    return node;
  };

  const setUp = (form, changed) => {
    const { answer, key } = form.dataset;
    const name = `coursekit-quiz/${key}`;
    const buttons = [...form.querySelectorAll("input")];
    const fold = form.querySelector("details");
    const feedback = make("span", "ck-feedback");
    feedback.setAttribute("role", "status");
    const check = make("button", "ck-check", "Check");
    fold.before(make("div", "ck-controls", check, feedback));
    let tried = "";

    const show = () => {
      const last = tried.at(-1) ?? "";
      form.dataset.state = last === "" ? "open" : last === answer ? "right" : "wrong";
      for (const button of buttons) button.closest("label").classList.toggle("ck-checked", button.value === last);
      fold.open = last === answer;
      if (last === "") feedback.textContent = "";
      else if (last !== answer) feedback.textContent = `Not yet: it is not (${last}). Choose again, or open the answer.`;
      else feedback.textContent = tried === answer ? "Right, at the first try." : "Right.";
      changed();
    };
    const question = {
      get answered() { return tried !== ""; },
      get first() { return tried[0] === answer; },
      recall: () => {
        const stored = storage("get", name) ?? "";
        const letters = buttons.map((button) => button.value);
        tried = [...stored].every((letter) => letters.includes(letter)) ? stored : "";
        for (const button of buttons) button.checked = button.value === tried.at(-1);
        show();
      },
      forget: () => {
        storage("remove", name);
        tried = "";
        form.reset();
        show();
      },
      focus: () => buttons[0].focus(),
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const choice = buttons.find((button) => button.checked).value;
      if (choice !== tried.at(-1)) tried += choice;
      storage("set", name, tried);
      show();
    });
    return question;
  };

  const forms = [...document.querySelectorAll("form.ck-quiz")];
  if (forms.length === 0) return;
  const words = make("span", "");
  const again = make("button", "ck-again", "start over");
  again.type = "button";
  forms.at(-1).after(make("p", "ck-tally", words, again));

  const questions = [];
  const count = () => {
    const answered = questions.filter((question) => question.answered).length;
    const first = questions.filter((question) => question.first).length;
    words.textContent = `You answered ${answered} of ${questions.length}`;
    if (answered > 0) words.textContent += `, ${first} right at the first try · `;
    again.hidden = answered === 0;
  };
  for (const form of forms) questions.push(setUp(form, count));
  for (const question of questions) question.recall();
  again.addEventListener("click", () => {
    for (const question of questions) question.forget();
    questions[0].focus();
  });
})();
