// The query editors: CodeMirror with PromQL (completion, lint, hover from the Prometheus API) or LogQL
// (highlighting, label completion). A lazy chunk; the page shows a plain text box until it is here.
import { autocompletion, closeBrackets, closeBracketsKeymap, completionKeymap, startCompletion, type CompletionContext, type CompletionResult } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, insertNewlineAndIndent } from '@codemirror/commands';
import { bracketMatching, HighlightStyle, LanguageSupport, LRLanguage, syntaxHighlighting } from '@codemirror/language';
import { EditorState, Prec, type Extension } from '@codemirror/state';
import { EditorView, keymap, placeholder } from '@codemirror/view';
import { styleTags, tags } from '@lezer/highlight';
import { PromQLExtension } from '@prometheus-io/codemirror-promql';

export interface EditorOptions {
  language: 'promql' | 'logql';
  text: string;
  label: string;
  hint: string;
  onChange: (text: string) => void;
  onRun: () => void;
  /** Up or down the history of queries; returns the text to show, or null. */
  onHistory: (step: -1 | 1) => string | null;
  logLabels: () => Promise<string[]>;
  logValues: (label: string) => Promise<string[]>;
}

export interface Editor {
  setText: (text: string) => void;
  focus: () => void;
  destroy: () => void;
}

const style = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], class: 'tok-keyword' },
  { tag: [tags.function(tags.variableName), tags.standard(tags.name)], class: 'tok-function' },
  { tag: tags.labelName, class: 'tok-label' },
  { tag: [tags.string, tags.special(tags.string)], class: 'tok-string' },
  { tag: [tags.number, tags.literal, tags.bool], class: 'tok-number' },
  { tag: tags.comment, class: 'tok-comment' },
  { tag: [tags.operator, tags.punctuation], class: 'tok-operator' },
  { tag: tags.invalid, class: 'tok-invalid' },
]);

export async function createEditor(parent: HTMLElement, options: EditorOptions): Promise<Editor> {
  const language = options.language === 'promql' ? promql() : await logql(options);
  const nonce = document.querySelector<HTMLMetaElement>('meta[name="csp-nonce"]')?.content ?? '';
  const run = () => (options.onRun(), true);
  const recall = (step: -1 | 1) => (view: EditorView) => {
    const text = options.onHistory(step);
    if (text !== null) replace(view, text);
    return true;
  };
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: options.text,
      extensions: [
        EditorView.cspNonce.of(nonce),
        history(),
        bracketMatching(),
        closeBrackets(),
        autocompletion({ icons: false, maxRenderedOptions: 60 }),
        language,
        syntaxHighlighting(style),
        placeholder(options.hint),
        EditorView.lineWrapping,
        EditorView.contentAttributes.of({ 'aria-label': options.label, spellcheck: 'false', autocapitalize: 'off' }),
        EditorView.updateListener.of((update) => {
          if (update.docChanged) options.onChange(update.state.doc.toString());
        }),
        // The completion list gets Enter first while it is open.
        Prec.high(keymap.of(completionKeymap)),
        Prec.high(
          keymap.of([
            { key: 'Enter', run },
            { key: 'Mod-Enter', run },
            { key: 'Shift-Enter', run: insertNewlineAndIndent },
            { key: 'Ctrl-ArrowUp', run: recall(-1) },
            { key: 'Ctrl-ArrowDown', run: recall(1) },
            { key: 'Ctrl-i', run: startCompletion },
          ]),
        ),
        keymap.of([...closeBracketsKeymap, ...historyKeymap, ...defaultKeymap]),
      ],
    }),
  });
  return {
    setText: (text) => replace(view, text),
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}

function replace(view: EditorView, text: string): void {
  if (view.state.doc.toString() === text) return;
  view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: text }, selection: { anchor: text.length } });
}

function promql(): Extension {
  const fetchFn = (input: RequestInfo, init?: RequestInit): Promise<Response> => {
    const url = typeof input === 'string' ? input : input.url;
    // Only asked to learn about feature flags; not worth a request.
    if (url.includes('/status/flags')) return Promise.resolve(new Response('{"status":"success","data":{}}'));
    return fetch(input, init);
  };
  return new PromQLExtension()
    .setComplete({ remote: { url: '', fetchFn, httpMethod: 'GET', httpErrorHandler: () => undefined }, maxMetricsMetadata: 10_000 })
    .activateLinter(true)
    .asExtension();
}

async function logql(options: EditorOptions): Promise<Extension> {
  const { parser } = await import('@grafana/lezer-logql');
  const functions =
    'CountOverTime Rate RateCounter BytesOverTime BytesRate AvgOverTime SumOverTime MinOverTime MaxOverTime StddevOverTime StdvarOverTime QuantileOverTime FirstOverTime LastOverTime AbsentOverTime Sum Avg Count Max Min Stddev Stdvar Bottomk Topk Sort Sort_Desc LabelReplace Vector';
  const words = 'Json Logfmt Unpack Pattern Regexp Unwrap LabelFormat LineFormat Decolorize Drop Keep By Without And Or Unless On Ignoring GroupLeft GroupRight Bool Offset';
  const styled = parser.configure({
    props: [
      styleTags({
        [functions]: tags.function(tags.variableName),
        [words]: tags.keyword,
        'Identifier LabelName': tags.labelName,
        String: tags.string,
        'Number Duration Bytes': tags.number,
        LineComment: tags.comment,
        'Eq Neq Re Nre Gtr Gte Lss Lte Eql PipeExact PipeMatch PipePattern Npa Pipe Add Sub Mul Div Mod Pow': tags.operator,
        '⚠': tags.invalid,
      }),
    ],
  });
  const logLanguage = LRLanguage.define({ name: 'logql', parser: styled, languageData: { closeBrackets: { brackets: ['(', '[', '{', '"', '`'] }, commentTokens: { line: '#' } } });
  return new LanguageSupport(logLanguage, logLanguage.data.of({ autocomplete: (context: CompletionContext) => completeLogql(context, options) }));
}

const STAGES = ['json', 'logfmt', 'pattern', 'regexp', 'unpack', 'line_format', 'label_format', 'unwrap', 'decolorize', 'drop', 'keep'];
const RANGE_FUNCTIONS = ['count_over_time', 'rate', 'bytes_over_time', 'bytes_rate', 'sum_over_time', 'avg_over_time', 'max_over_time', 'min_over_time', 'quantile_over_time', 'absent_over_time', 'sum', 'avg', 'min', 'max', 'count', 'topk', 'bottomk'];

async function completeLogql(context: CompletionContext, options: EditorOptions): Promise<CompletionResult | null> {
  const before = context.state.sliceDoc(0, context.pos);
  const inSelector = before.lastIndexOf('{') > before.lastIndexOf('}');
  const value = inSelector ? /([A-Za-z_][A-Za-z0-9_]*)\s*(?:=~|!~|!=|=)\s*"([^"]*)$/.exec(before) : null;
  if (value) {
    const values = await options.logValues(value[1]!);
    return { from: context.pos - value[2]!.length, options: values.map((text) => ({ label: text, type: 'text' })), validFor: /^[^"]*$/ };
  }
  const word = /[A-Za-z_][A-Za-z0-9_]*$/.exec(before)?.[0] ?? '';
  if (inSelector && /[{,]\s*[A-Za-z0-9_]*$/.test(before)) {
    const names = await options.logLabels();
    return { from: context.pos - word.length, options: names.map((text) => ({ label: text, type: 'property', apply: `${text}=` })), validFor: /^\w*$/ };
  }
  if (!inSelector && /\|\s*[a-z_]*$/.test(before) && !/\|[=~]$/.test(before)) {
    return { from: context.pos - word.length, options: STAGES.map((text) => ({ label: text, type: 'keyword' })), validFor: /^\w*$/ };
  }
  if (!inSelector && word !== '' && !before.includes('"', before.length - word.length - 1)) {
    return { from: context.pos - word.length, options: RANGE_FUNCTIONS.map((text) => ({ label: text, type: 'function' })), validFor: /^\w*$/ };
  }
  return null;
}
