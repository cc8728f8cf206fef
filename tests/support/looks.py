"""What no page may have: pale text, and what is too small for fingers. Scripts for a browser."""

# What stands below 4.5, by WCAG's formula: [contrast, text]. A ground is what all backgrounds from
# the page up to the text make together.
PALE = """async () => {
    // of what appears; one whose part of the page goes is cut short
    await Promise.allSettled(document.getAnimations().map((one) => one.finished));
    const parse = (text) => {
        const numbers = text.match(/-?[\\d.]+(e-?\\d+)?/g).map(Number);
        const scale = text.startsWith('color(') ? 255 : 1;
        return [...numbers.slice(0, 3).map((n) => n * scale), numbers[3] ?? 1];
    };
    const over = ([r, g, b, a], ground) =>
        [r, g, b].map((c, i) => c * a + ground[i] * (1 - a));
    const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const light = (c) => 0.2126 * linear(c[0]) + 0.7152 * linear(c[1]) + 0.0722 * linear(c[2]);
    const ground = (node) => {
        if (!node) return [255, 255, 255];
        return over(parse(getComputedStyle(node).backgroundColor), ground(node.parentElement));
    };
    // what is seen of a colour inside a node, once all that is see-through around it has faded it
    const seen = (colour, node) => {
        for (; node; node = node.parentElement) {
            const opacity = Number(getComputedStyle(node).opacity);
            if (opacity < 1) colour = over([...colour, opacity], ground(node.parentElement));
        }
        return colour;
    };
    const found = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
        const holds = e.matches('input[placeholder], textarea[placeholder]') && e.placeholder;
        if (!own && !holds) continue;
        if (!e.checkVisibility({ opacityProperty: true, visibilityProperty: true })) continue;
        if (e.closest('script, style, .hoverlayer, .unseen')) continue;
        if (!e.getClientRects().length) continue;
        const style = getComputedStyle(e, holds && !e.value ? '::placeholder' : null);
        const node = e.ownerSVGElement ? e.closest('.plot') || e.ownerSVGElement : e;
        const front = over(parse(e.ownerSVGElement ? style.fill : style.color), ground(node));
        const lights = [front, ground(node)].map((colour) => light(seen(colour, node)));
        const [high, low] = lights.sort((x, y) => y - x);
        const contrast = (high + 0.05) / (low + 0.05);
        if (contrast < 4.5) found.push([contrast.toFixed(2), e.className?.baseVal ?? e.className,
            (e.textContent || e.placeholder).trim().slice(0, 40)]);
    }
    return found;
}"""

TARGET = 44  # CSS pixels
TOO_SMALL = """([within, least]) => {
  const kinds = 'button, input, textarea, select, summary, [role=button], fieldset label';
  return [...document.querySelectorAll(`${within} :is(${kinds})`)].filter((e) => {
    if (!e.checkVisibility({ visibilityProperty: true, opacityProperty: true })) return false;
    const hit = e.closest('label') || e; // a label is its box's target too
    const box = hit.getBoundingClientRect();
    return box.width && box.height && Math.min(box.width, box.height) < least - 0.5;
  }).map((e) => `${e.outerHTML.slice(0, 90)} ${e.offsetWidth} × ${e.offsetHeight}`);
}"""
